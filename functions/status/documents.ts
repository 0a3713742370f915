import { asyncApiDocument } from '#lib/api/asyncapi.ts';
import { openApiDocument } from '#lib/api/openapi/document.ts';
import { version } from '#lib/version.ts';

/** The documents that describe the API, by path. They hold nothing of the service's state: everybody may read them. */
const makers = {
  '/openapi.json': (serverUrl: string) => openApiDocument({ version, serverUrl }),
  '/asyncapi.json': () => asyncApiDocument({ version }),
};

export type DocumentPath = keyof typeof makers;

export function isDocumentPath(path: string): path is DocumentPath {
  return Object.hasOwn(makers, path);
}

/** Makes each document once, when it is first asked for: calls without a token must not cost much. */
export function createDocuments(serverUrl: string): (path: DocumentPath) => unknown {
  const made = new Map<DocumentPath, unknown>();
  return (path) => {
    const document = made.get(path) ?? makers[path](serverUrl);
    made.set(path, document);
    return document;
  };
}
