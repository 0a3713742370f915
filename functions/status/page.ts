import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Answer } from '#lib/api/respond.ts';
import { ImageBuilderError } from '#lib/errors.ts';

/**
 * The live page: `index.html` at `/page`, the files that it names at `/page/…`. They hold nothing of the service's state,
 * so everybody may read them; the page gets its data through the API, with the caller's token.
 */
export interface Page {
  /** Answers with a file of the page. Throws `request.not_found` where there is none. */
  answer(answer: Answer, name: string, headers: Readonly<Record<string, string>>): unknown;
}

interface File {
  readonly bytes: Buffer;
  readonly type: string;
  readonly tag: string;
}

const folder = join(import.meta.dirname, 'page');

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The page loads and calls nothing but its own server, and no other page shows it in a frame. */
const securityHeaders = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

/** Reads the files of the page. `publicUrl`: that of the API; the page finds the API by it where its own path says nothing. */
export function createPage(publicUrl: string): Page {
  const files = new Map(
    readdirSync(folder)
      .filter((name) => types[extname(name)] !== undefined)
      .map((name) => [name, read(name, publicUrl)] as const),
  );
  return {
    answer(answer, name, headers) {
      const file = files.get(name);
      if (file === undefined) throw new ImageBuilderError('request.not_found', 'the page has no such file');
      answer.headers({ ...securityHeaders, 'content-type': file.type, 'cache-control': 'no-cache', etag: file.tag });
      if (headers['if-none-match'] !== file.tag) return file.bytes;
      answer.status(304);
      return undefined;
    },
  };
}

function read(name: string, publicUrl: string): File {
  const text = readFileSync(join(folder, name), 'utf8');
  const bytes = Buffer.from(name === 'index.html' ? text.replace('{{publicUrl}}', () => escapeHtml(publicUrl)) : text);
  const tag = `"${createHash('sha256').update(bytes).digest('base64url')}"`;
  return { bytes, type: types[extname(name)] ?? '', tag };
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
