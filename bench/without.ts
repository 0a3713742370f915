import { registerHooks } from 'node:module';
import { isPart, type Part } from './parts.ts';

/**
 * Loaded before a builder (`node --import`): leaves those parts out of its builds that BENCH_WITHOUT names. The service
 * itself has no setting for that.
 */

const left = (process.env.BENCH_WITHOUT ?? '').split(' ').filter(isPart);
const isLeft = (part: Part) => left.includes(part);

if (isLeft('documents')) {
  registerHooks({
    load: (url, context, next) =>
      url.endsWith('/lib/pipeline/documents.ts')
        ? { format: 'module', source: 'export const writeDocuments = async () => [];', shortCircuit: true }
        : next(url, context),
  });
}

if (isLeft('walk')) {
  const { guestScripts } = await import('#lib/guest/script.ts');
  Object.assign(guestScripts, { touched: '' });
}

if (isLeft('addresses')) {
  const { texts } = await import('#lib/apt/script.ts');
  const [plan = '', ...rest] = texts.resolve.split('\n# The indexes that have these files.');
  if (rest.length !== 1) throw new Error('resolve.sh has no part about the indexes that have the files');
  Object.assign(texts, { resolve: `${plan}\necho "exit:$code" >&3\n` });
}
