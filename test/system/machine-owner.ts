import { startSystemdMachine } from '../../lab/servers/systemd-machine.ts';

/** Starts a machine, says so, and waits: systemd-machine.test.ts kills it. */

const [directory = ''] = process.argv.slice(2);
await startSystemdMachine({ directory, binds: {} });
console.log('started');
setInterval(() => undefined, 60_000);
