import { isMap, isScalar, isSeq, LineCounter, parseDocument, type YAMLMap } from 'yaml';
import { z } from 'zod';
import { ImageBuilderError } from '../errors.ts';

/**
 * `install-sources.yaml`, the catalogue from which Ubuntu's installer (subiquity) takes what it installs: of version 1 a
 * list of sources, from version 2 on a map that holds the list (subiquity/models/source.py). Unknown fields are passed
 * over, as the installer does.
 */

/** A field without a value is one that is not there. */
const path = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const size = z.number().int().nonnegative().nullish();

const Variation = z.object({ path, size });

const Source = z.object({
  ...{ id: z.string(), path, size, type: z.string().nullish() },
  default: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
  variations: z
    .record(z.string(), Variation)
    .nullish()
    .transform((value) => value ?? {}),
});

const Catalogue = z.union([
  z.array(Source),
  z.object({ sources: z.array(Source) }).transform(({ sources }) => sources),
]);

/** One system that the installer offers. */
export type InstallSource = z.infer<typeof Source>;

/** Real ones have some 5 KB. */
export const maximumCatalogueBytes = 64 * 1024;
const maximumAliases = 100;

/** The sources of a catalogue, in its order. Throws `image.corrupt` for anything else, and `image.too_large`. */
export function parseInstallSources(text: string): InstallSource[] {
  const { data, error } = Catalogue.safeParse(toPlain(documentOf(text)));
  if (error !== undefined) {
    const [first] = error.issues;
    throw corrupt(`${first?.path.join('.') ?? ''}: ${first?.message ?? 'has faults'}`);
  }
  return data;
}

/**
 * The catalogue with other sizes: `sizeOf` gets the path of each source or variation with the size that it has, and
 * returns the one that it gets. Every byte but those of changed numbers stays.
 */
export function updateSourceSizes(text: string, sizeOf: (path: string, sizeBytes: number) => number): string {
  const sizes: { start: number; end: number; text: string }[] = [];
  const note = (map: YAMLMap, path: string) => {
    const size = map.get('size', true);
    if (!isScalar(size) || typeof size.value !== 'number' || !size.range) return;
    const [start, end] = size.range;
    const changed = sizeOf(path, size.value);
    if (changed !== size.value) sizes.push({ start, end, text: String(changed) });
  };
  const { contents } = documentOf(text);
  const sources = isMap(contents) ? contents.get('sources') : contents;
  for (const source of isSeq(sources) ? sources.items : []) {
    if (!isMap(source)) continue;
    const path = String(source.get('path') ?? '');
    note(source, path);
    const variations = source.get('variations');
    for (const { value } of isMap(variations) ? variations.items : []) {
      if (isMap(value)) note(value, String(value.get('path') ?? path));
    }
  }
  let changed = '';
  let done = 0;
  for (const size of sizes.toSorted((one, other) => one.start - other.start)) {
    changed += text.slice(done, size.start) + size.text;
    done = size.end;
  }
  return changed + text.slice(done);
}

/** Throws where aliases multiply the text beyond measure, or name nothing. */
function toPlain(document: ReturnType<typeof parseDocument>): unknown {
  try {
    return document.toJS({ maxAliasCount: maximumAliases });
  } catch (error) {
    throw corrupt(error instanceof Error ? error.message : 'its aliases cannot be read');
  }
}

function documentOf(text: string): ReturnType<typeof parseDocument> {
  if (text.length > maximumCatalogueBytes) {
    throw new ImageBuilderError('image.too_large', `install-sources.yaml has more than ${maximumCatalogueBytes} bytes`);
  }
  // The whole text is searched for the anchor of each alias.
  if (text.split('*').length > maximumAliases) throw corrupt('it has too many aliases');
  const lineCounter = new LineCounter();
  // Otherwise each of thousands of errors is shown with its line, which may be the whole text.
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'silent', lineCounter });
  const [error] = document.errors;
  if (error !== undefined) {
    const { line, col } = lineCounter.linePos(error.pos[0]);
    throw corrupt(`line ${line}, column ${col}: ${error.message}`);
  }
  return document;
}

function corrupt(message: string): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `install-sources.yaml of the medium has faults: ${message}`);
}
