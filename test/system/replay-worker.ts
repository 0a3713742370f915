import { splicedShop } from './spliced-shop.ts';

/** Makes a new medium with a spliced layer, and compares it with its base; prints the digest of its layer. */

await using shop = await splicedShop(2_000_000);
await shop.replay();
const digests = await shop.finish();
await shop.compare();
console.log(JSON.stringify([...digests].map(([path, found]) => [path, ...found.values()])));
