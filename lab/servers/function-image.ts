import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import { assemble, readStackFile, type StackFunction } from './assemble.ts';
import { importBaseImages } from './container-images.ts';
import { type Docker, startDocker } from './docker.ts';

/** The images of the functions, built from the template's Dockerfile as faas-cli builds them, and their containers. */

/** Options that restrict a container as a hardened cluster does. */
export const hardened = ['--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges'];

const repository = resolve(import.meta.dirname, '../..');
const startTimeoutMs = 120_000;

/** Starts an engine and calls `register` for the tests; where that is impossible, one test says why and is skipped. */
export async function testWithDocker(register: (docker: Docker) => void): Promise<void> {
  const reason = await startDocker().then(register, (error: Error) => error.message);
  if (typeof reason !== 'string') return;
  console.log(`SKIPPED: no Docker engine can be had here: ${reason}`);
  test.skip('the images of the functions are built and run', () => {});
}

/** The definition of a function in stack.yml. */
export async function functionDefinition(name: string): Promise<StackFunction> {
  const definition = (await readStackFile()).functions[name];
  if (definition === undefined) throw new Error(`stack.yml has no function ${name}`);
  return definition;
}

/** Makes the two base images of the Dockerfile. */
export async function importFunctionBases(docker: Docker): Promise<void> {
  const { build_args: names } = await functionDefinition('status');
  const bases = { node: names.NODE_IMAGE ?? '', watchdog: names.WATCHDOG_IMAGE ?? '' };
  await importBaseImages(docker, bases, join(repository, '.cache'));
}

/** Builds an image called `tag` as faas-cli does: in the assembled context, with the build_args of stack.yml. */
export async function buildFunctionImage(
  docker: Docker,
  name: string,
  options: { readonly tag: string; readonly directory: string; readonly handler?: string },
): Promise<void> {
  const { tag, directory, handler } = options;
  const context = await assemble(name, join(directory, tag), handler === undefined ? {} : { handler });
  const { build_args: buildArgs } = await functionDefinition(name);
  const values = Object.entries(buildArgs).map(([key, value]) => `--build-arg=${key}=${value}`);
  await docker.run(['build', '--network=host', ...values, '--tag', tag, context]);
}

/** The lines that a container has written to standard error, where functions log. */
export async function containerLogs(docker: Docker, container: string): Promise<string> {
  return (await docker.run(['logs', container])).stderr;
}

/** Starts a container and resolves with its id when its function listens and `isHealthy` says so. */
export async function startContainer(
  docker: Docker,
  args: readonly string[],
  isHealthy: (container: string) => Promise<boolean>,
): Promise<string> {
  const container = (await docker.run(['run', '--detach', ...args])).stdout.trim();
  const listens = async () => (await containerLogs(docker, container)).includes('"listening"');
  for (const end = Date.now() + startTimeoutMs; !((await listens()) && (await isHealthy(container))); ) {
    const running = (await docker.run(['inspect', '--format', '{{.State.Running}}', container])).stdout.trim();
    if (running !== 'true' || Date.now() > end) {
      throw new Error(`the container is not up:\n${await containerLogs(docker, container)}`);
    }
    await sleep(200);
  }
  return container;
}
