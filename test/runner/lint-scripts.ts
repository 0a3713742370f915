import { ExecError, exec } from '#lib/exec.ts';
import { findTool } from '#lib/tools.ts';
import { projectFiles, root } from './files.ts';
import { embeddedScripts, shellOf } from './scripts.ts';
import { skippedExitCode } from './summary.ts';

/**
 * Checks every shell script of the repository with shellcheck, those in TypeScript files too, and the syntax of every
 * Perl script. Exits with 1 after printing faults, with `skippedExitCode` where there are none but a tool is not
 * installed.
 */

const texts = projectFiles();
const paths = [...texts.keys()];

let failed = false;
let missing = false;
for (const [tool, lint] of [
  ['shellcheck', lintShell],
  ['perl', lintPerl],
] as const) {
  if ((await findTool(tool)) !== null) await lint();
  else {
    missing = true;
    console.log(`${tool} is not installed, so its scripts are not checked; apt-get install ${tool}`);
  }
}
process.exitCode = failed ? 1 : missing ? skippedExitCode : 0;

async function lintShell(): Promise<void> {
  for (const shell of ['dash', 'bash'] as const) {
    const scripts = paths.filter((path) => shellOf(path, texts.get(path) ?? '') === shell);
    await check('shellcheck', [`--shell=${shell}`, ...scripts]);
  }
  for (const [path, text] of texts) {
    if (!/\.(ts|js)$/.test(path)) continue;
    for (const script of embeddedScripts(text)) {
      await check('shellcheck', ['--shell=dash', '-'], { input: script.text, title: `${path}, ${script.name}:` });
    }
  }
}

async function lintPerl(): Promise<void> {
  for (const path of paths.filter((path) => path.endsWith('.pl'))) await check('perl', ['-c', path]);
}

async function check(program: string, args: readonly string[], from?: { input: string; title: string }): Promise<void> {
  try {
    await exec(program, args, { cwd: root, ...(from && { input: from.input }) });
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    failed = true;
    if (from !== undefined) console.log(from.title);
    console.log(error.stdout || error.message);
    console.log(error.stderr);
  }
}
