import { test } from 'uvu';
import { whyNoSystemdMachine } from '../../lab/servers/systemd-machine.ts';

const hindrance = await whyNoSystemdMachine();
if (hindrance !== null) console.log(`skipped: ${hindrance}`);

/** A test that needs a machine with a real systemd; it is skipped, with the reason, where there can be none. */
export const withMachine = hindrance === null ? test : test.skip;
