import { z } from 'zod';
import type { TouchedFile, TouchedFiles } from '../guest/touched-files.ts';

/** Files that a build has touched, as the document of its changes shows them. */
export const DocumentedFile = z.object({
  /** Its absolute path. Bytes that are no UTF-8 show as U+FFFD. */
  path: z.string(),
  /** The bytes of such a path, in base64. */
  path_base64: z.base64().optional(),
  type: z.enum(['file', 'link', 'pipe', 'socket', 'block-device', 'character-device']),
  /** Four octal digits, such as `0644` or `4755`. Left out for links, which have none of their own. */
  mode: z
    .string()
    .regex(/^[0-7]{4}$/)
    .optional(),
  /** In bytes; only of files. */
  size: z.int().nonnegative().optional(),
});

export const DocumentedFiles = z.object({
  /** False where there are more. */
  complete: z.boolean(),
  /** In the order of the bytes of their paths. */
  touched: z.array(DocumentedFile),
});

export function documentFiles({ isComplete, files }: TouchedFiles): z.infer<typeof DocumentedFiles> {
  const sorted = files.toSorted((a, b) => Buffer.compare(a.path, b.path));
  return { complete: isComplete, touched: sorted.map(documentFile) };
}

function documentFile({ path, type, mode, sizeBytes }: TouchedFile): z.infer<typeof DocumentedFile> {
  const text = Buffer.from(path).toString('utf8');
  return {
    path: text,
    ...(Buffer.from(text).equals(path) ? {} : { path_base64: Buffer.from(path).toString('base64') }),
    type,
    ...(type === 'link' ? {} : { mode: mode.padStart(4, '0') }),
    ...(type === 'file' ? { size: sizeBytes } : {}),
  };
}

/**
 * JSON in lines, for documents with paths: characters in these that control a terminal, or that nobody sees, are escaped.
 */
export function toVisibleJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2).replace(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escaped)}\n`;
}

function escaped(character: string): string {
  const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
}
