import { join } from 'node:path';
import { readShellScripts } from '../../shell-scripts.ts';

/** Keeps the worker's devices and swap out of the initramfs images that are made during a build, in text for `loans`. */
export const { initramfs: initramfsLoan } = readShellScripts(join(import.meta.dirname, 'scripts'), ['initramfs']);
