import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Medium, View } from '#lib/medium/medium.ts';
import { planLayers, type WantedLayers } from '#lib/medium/plan-layers.ts';

/** Media as lists of their file trees; a star marks those of a live session. */
function medium(trees: readonly string[], sources: Readonly<Record<string, string>>): Medium {
  const views = trees.map(
    (tree): View => ({ layers: tree.replace('*', '').trim().split(' < '), live: tree.endsWith('*') }),
  );
  const known = Object.entries(sources).map(([id, layer]) => ({ id, layer }));
  const [defaultSource] = known;
  if (defaultSource === undefined) throw new Error('a medium has a source');
  return { family: 'casper', folder: 'casper', views, sources: known, defaultSource };
}

const desktop = medium(['a', 'a < b', 'a < b < live *', 'a < b < de', 'a < secure', 'a < de1'], {
  standard: 'b',
  minimal: 'a',
  secure: 'secure',
});

const planOf = (of: Medium, wanted: WantedLayers) =>
  planLayers(of, wanted).map(({ layer, below }) => [...below, layer].join(' < '));

function refusal(of: Medium, wanted: WantedLayers): string {
  try {
    return planOf(of, wanted).join(', ');
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    return `${(error as ImageBuilderError).code}: ${(error as ImageBuilderError).message}`;
  }
}

test('a change begins in the layer of the source, and goes on in all layers above, each after those below it', () => {
  assert.equal(planOf(desktop, {}), ['a < b', 'a < b < live', 'a < b < de']);
  const all = planOf(desktop, { source: 'minimal', live: true });
  assert.is(all[0], 'a');
  assert.equal(all.toSorted(), ['a', 'a < b', 'a < b < de', 'a < b < live', 'a < de1', 'a < secure']);
  for (const [index, tree] of all.entries()) {
    for (const other of all.slice(index)) assert.not(tree.startsWith(`${other} < `), `${tree} before ${other}`);
  }
});

test('the live session gets a change that it does not stand on, in its own layers only', () => {
  assert.equal(planOf(desktop, { source: 'secure' }), ['a < secure']);
  assert.equal(planOf(desktop, { source: 'secure', live: false }), ['a < secure']);
  assert.equal(planOf(desktop, { source: 'secure', live: true }), ['a < secure', 'a < b < live']);
  const server = medium(['a', 'a < b', 'a < b < x *', 'a < b < x < y *', 'a < b < x < z *', 'a < other'], {
    other: 'other',
  });
  assert.equal(planOf(server, { live: true }), ['a < other', 'a < b < x', 'a < b < x < y', 'a < b < x < z']);
});

test('a variation of a source that stands on other layers gets the change, too', () => {
  const of = medium(['a', 'a < b', 'a < c', 'a < c < de', 'd *', 'd < e *'], { b: 'b' });
  const withVariations = (...variations: string[]): Medium => {
    const defaultSource = { ...of.defaultSource, variations };
    return { ...of, sources: [defaultSource], defaultSource };
  };
  assert.equal(planOf(withVariations('c', 'b'), {}), ['a < b', 'a < c', 'a < c < de']);
  assert.equal(planOf(withVariations('d'), {}), ['a < b', 'd', 'd < e']);
  assert.match(refusal(withVariations('d'), { live: false }), /the live session of the medium stands on \/d,/);
  // Most stand on the layer of their source.
  assert.equal(planOf({ ...of, defaultSource: { id: 'b', layer: 'a', variations: ['c'] } }, {}), [
    ...['a', 'a < b', 'a < c', 'a < c < de'],
  ]);
});

test('wishes that cannot come true are refused with the reason', () => {
  assert.match(refusal(desktop, { live: false }), /^image\.unsupported: cd\.live is false, but .* stands on \/b,/);
  assert.match(
    refusal(medium(['a'], { a: 'a' }), { live: true }),
    /^image\.unsupported: cd\.live is true, but nothing/,
  );
  assert.match(refusal(desktop, { source: 'none' }), /^request\.invalid: .* "none"; it has "standard", "minimal"/);
});

test('a layer that stands on different ones, and too many layers, are refused', () => {
  const ambiguous = medium(['a < b *', 'c < b *'], { b: 'b' });
  assert.match(refusal(ambiguous, {}), /^image\.unsupported: the layer "b" .* stands on other layers/);
  const deep = Array.from({ length: 11 }, (_, index) => `l${index}`).join(' < ');
  assert.match(refusal(medium([deep], { a: 'l0' }), {}), /^image\.too_large: the medium has 11 layers/);
  const wide = Array.from({ length: 64 }, (_, index) => `a < l${index}`);
  assert.match(refusal(medium(['a', ...wide], { a: 'a' }), {}), /^image\.too_large: the change concerns 65 layers/);
});

test.run();
