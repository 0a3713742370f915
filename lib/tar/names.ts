import { corrupt, shown, unsafe } from './refusals.ts';

/** Names of members: where they lie in the root file system. Each character is one byte. */

/** PATH_MAX of Linux, without the zero byte at the end. */
const maximumNameBytes = 4095;
/** NAME_MAX of Linux. */
const maximumPartBytes = 255;

/** The dot in all names of an archive: `./x`, `system/./x` as system-image servers make of that, or none. */
export type NameStyle = './' | 'system/./' | '';

export interface PlainName {
  /** The name without its dot, and without a slash at its end; empty for the root of the archive. */
  readonly path: string;
  readonly style: NameStyle;
  /** True where a slash is at its end. */
  readonly hasSlash: boolean;
}

/**
 * Takes the name of a member apart. Throws `image.unsafe` for one that leads out of the archive or has control characters,
 * and `image.corrupt` for one that no file has, or that is written in an unusual way: two such names may mean one file.
 * `characters` are those that names may have: files in the layers of a medium may have any.
 */
export function plainName(name: string, characters: 'plain' | 'any' = 'plain'): PlainName {
  checkText(name, characters);
  if (name.startsWith('/')) throw unsafe(`the name ${shown(name)} is absolute`);
  const hasSlash = name.endsWith('/');
  const parts = (hasSlash ? name.slice(0, -1) : name).split('/');
  if (parts.includes('..')) throw unsafe(`the name ${shown(name)} leads out of it`);
  const style = parts[0] === '.' ? './' : parts[0] === 'system' && parts[1] === '.' ? 'system/./' : '';
  if (style !== '') parts.splice(style === './' ? 0 : 1, 1);
  if (parts.includes('') || parts.includes('.')) throw corrupt(`the name ${shown(name)} is not in its plain form`);
  if (parts.some((part) => part.length > maximumPartBytes)) {
    throw corrupt(`the name ${shown(name)} has a part of more than ${maximumPartBytes} bytes`);
  }
  return { path: parts.join('/'), style, hasSlash };
}

/** Throws for text that cannot be a path: too long, or with control characters, which would change what logs show. */
export function checkText(text: string, characters: 'plain' | 'any' = 'plain'): void {
  if (text.length > maximumNameBytes) throw corrupt(`the name ${shown(text)} has ${text.length} bytes`);
  for (let index = 0; index < text.length; index += 1) {
    const byte = text.charCodeAt(index);
    const isControl = byte < 0x20 || byte === 0x7f;
    if (byte === 0 || (isControl && characters === 'plain'))
      throw unsafe(`the name ${shown(text)} has a control character`);
  }
}

/** The path of the folder; empty for what lies in the root. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
