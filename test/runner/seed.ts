import fc from 'fast-check';

/**
 * Loaded before every test file: property tests try the same cases in every run, so that a red run is due to the change
 * and not to chance. `SEED=random` (or a number) tries others; the seed of a failure is printed with it.
 */

const defaultSeed = 20_261_123;

const chosen = process.env.SEED ?? '';
if (chosen !== 'random') fc.configureGlobal({ seed: chosen === '' ? defaultSeed : Number(chosen) });
