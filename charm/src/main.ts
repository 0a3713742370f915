import { handle } from './handle.ts';
import { readHook } from './hook.ts';

/** The charm's one program, for all hooks and actions. */

process.umask(0o022);
await handle(readHook(process.env));
