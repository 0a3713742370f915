/**
 * The properties of images in Glance, as settings hold them, and the names that Glance keeps for itself: the base and
 * read-only properties of its API v2 (https://docs.openstack.org/api-ref/image/v2/, and `RequestDeserializer` in Glance's
 * api/v2/images.py). Glance refuses an image with such a property at its upload, after the whole build.
 */

const set = 'Image Builder sets it';
const own = 'Glance sets it itself';

/** Names that no property can have, with the reason or the setting in its place. */
const takenNames: ReadonlyMap<string, string> = new Map([
  ['min_disk', 'IMAGEBUILDER_GLANCE_MIN_DISK sets it'],
  ['min_ram', 'IMAGEBUILDER_GLANCE_MIN_RAM sets it'],
  ['protected', 'IMAGEBUILDER_GLANCE_PROTECTED sets it'],
  ['visibility', 'IMAGEBUILDER_GLANCE_VISIBILITY sets it'],
  ['tags', 'IMAGEBUILDER_GLANCE_TAGS sets it'],
  ['os_hidden', 'Image Builder would not find a hidden image again'],
  ...['name', 'disk_format', 'container_format', 'ticket_id'].map((name) => [name, set] as const),
  ...['id', 'owner', 'status', 'size', 'virtual_size', 'checksum', 'os_hash_algo', 'os_hash_value'].map(
    (name) => [name, own] as const,
  ),
  ...['created_at', 'updated_at', 'deleted', 'deleted_at', 'self', 'file', 'schema', 'direct_url'].map(
    (name) => [name, own] as const,
  ),
  ...['location', 'locations', 'stores'].map((name) => [name, own] as const),
]);

/** Columns of Glance's database: VARCHAR(255), and TEXT of MySQL, in bytes. */
const longestName = 255;
const longestValueBytes = 65_535;

type Properties = Readonly<Record<string, string>>;
type Parsed = { readonly properties: Properties } | { readonly fault: string };

/**
 * Reads `name=value,name="value, with a comma"`, or a JSON object of text. Commas and line breaks separate; everything
 * after the first `=` is the value, in double quotes, with JSON's escapes, where it has a comma or ends in blanks. The
 * fault names the property, and quotes no value.
 */
export function parseGlanceProperties(text: string): Parsed {
  const pairs = text.trim().startsWith('{') ? pairsOfJson(text) : pairsOfText(text);
  if (typeof pairs === 'string') return { fault: pairs };
  const properties = new Map<string, string>();
  for (const [name, value] of pairs) {
    const fault = nameFault(name) ?? valueFault(name, value) ?? (properties.has(name) ? `has ${name} twice` : null);
    if (fault !== null) return { fault };
    properties.set(name, value);
  }
  return { properties: Object.fromEntries(properties) };
}

type Pair = readonly [name: string, value: string];

function pairsOfJson(text: string): readonly Pair[] | string {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return 'begins like JSON and is none';
  }
  const entries = Object.entries(document as object);
  const wrong = entries.find(([, value]) => typeof value !== 'string');
  if (wrong !== undefined) return `must have text as the value of ${wrong[0]}, since Glance takes nothing else`;
  return entries as Pair[];
}

function pairsOfText(text: string): readonly Pair[] | string {
  const pairs: Pair[] = [];
  for (let at = 0; at < text.length; ) {
    const quote = quotedStart(text, at);
    const end = quote < 0 ? separatorAfter(text, at) : closingQuote(text, quote);
    if (end < 0) return 'has a quote that is not closed';
    const next = separatorAfter(text, end);
    const part = text.slice(at, end).trim();
    at = next + 1;
    if (text.slice(end, next).trim() !== '') return 'has text between the end of a quote and the next comma';
    if (part === '') continue;
    const equals = part.indexOf('=');
    if (equals <= 0) {
      return `must be pairs such as hw_disk_bus=virtio, and ${part.slice(0, 40)} is none (a value with a comma needs double quotes)`;
    }
    const name = part.slice(0, equals).trim();
    const value = quote < 0 ? part.slice(equals + 1).trim() : unquoted(text.slice(quote, end));
    if (value === null) return `has a value of ${name} in quotes that is no JSON string`;
    // Older settings separated pairs by blanks.
    if (quote < 0 && value.split(/\s+/).some((word, index) => index > 0 && word.indexOf('=') > 0)) {
      return `leaves open whether the value of ${name} ends at its first blank: separate pairs by commas, or put the value in double quotes`;
    }
    pairs.push([name, value]);
  }
  return pairs;
}

/** The place of the quote with which the value of the pair at `at` begins; -1 where it has none. */
function quotedStart(text: string, at: number): number {
  const part = text.slice(at, separatorAfter(text, at));
  const equals = part.indexOf('=');
  if (equals < 0) return -1;
  const value = part.slice(equals + 1);
  const place = at + part.length - value.trimStart().length;
  return text.charAt(place) === '"' ? place : -1;
}

function separatorAfter(text: string, at: number): number {
  for (let end = at; end < text.length; end += 1) if (text[end] === ',' || text[end] === '\n') return end;
  return text.length;
}

/** The place after the quote that closes the one at `start`; -1 where none does. */
function closingQuote(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at + 1;
  }
  return -1;
}

function unquoted(text: string): string | null {
  try {
    return String(JSON.parse(text));
  } catch {
    return null;
  }
}

/** The reason why a property cannot have this name; null where it can. */
function nameFault(name: string): string | null {
  const taken = takenNames.get(name);
  if (taken !== undefined) return `must not have ${name}: ${taken}`;
  if (name.startsWith('os_glance_')) return `must not have ${name}: Glance keeps names that begin with os_glance_`;
  if (name.startsWith('imagebuilder_'))
    return `must not have ${name}: Image Builder keeps names that begin with imagebuilder_`;
  return name === '' || name.length > longestName ? `must have names of 1 to ${longestName} characters` : null;
}

function valueFault(name: string, value: string): string | null {
  return Buffer.byteLength(value) > longestValueBytes ? `has more than ${longestValueBytes} bytes in ${name}` : null;
}
