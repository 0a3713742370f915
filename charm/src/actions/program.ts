import { readEnvironment } from '../environment-file.ts';
import { exists, readText } from '../files.ts';
import { gatewayUrl } from '../gateway.ts';
import type { Hook } from '../hook.ts';
import { environmentPath, onMachine, programPrefix, secretsFolder, serviceUser } from '../places.ts';
import { isActive } from '../service.ts';
import { readState } from '../state.ts';
import { wantedOf } from '../wanted.ts';

/** A call of the installed command, as the service's user and with the service's settings. */
export interface ProgramCall {
  readonly program: string;
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** Throws where the program is not installed. */
export function callOf(hook: Hook, words: readonly string[]): ProgramCall {
  const settings = readText(environmentPath);
  const command = `${programPrefix}/lib/imagebuilder/bin/imagebuilder`;
  if (settings === null || !exists(command)) {
    throw new Error(`Image Builder is not installed: see juju status ${hook.unit}`);
  }
  const wanted = wantedOf(readState(hook));
  const own = [onMachine(command), ...words];
  const [program = '', ...rest] = wanted.hostGuest ? own : ['runuser', '-u', serviceUser, '--', ...own];
  const tokenFile = onMachine(`${secretsFolder}/imagebuilder-token`);
  return {
    program,
    words: rest,
    environment: {
      PATH: process.env.PATH ?? '',
      LANG: 'C.UTF-8',
      NO_COLOR: '1',
      ...readEnvironment(settings),
      IMAGEBUILDER_SECRETS_DIRECTORY: onMachine(secretsFolder),
      IMAGEBUILDER_URL: gatewayUrl(wanted.port),
      ...(wanted.secrets.has('imagebuilder-token') ? { IMAGEBUILDER_TOKEN_FILE: tokenFile } : {}),
    },
  };
}

/** Throws, with what to do, where the unit's service does not run. */
export function requireService(hook: Hook): void {
  const state = readState(hook);
  const { hindrances } = wantedOf(state);
  if (hindrances.length > 0) throw new Error(hindrances.map(({ message }) => message).join('; '));
  if (state.paused) throw new Error(`The unit is paused: juju run ${state.unit} resume`);
  if (!isActive()) throw new Error(`imagebuilder.service does not run: see juju status ${state.unit}`);
}
