import { randomUUID } from 'node:crypto';
import { text as readAll } from 'node:stream/consumers';
import { debconfLines, type RequestFlags, requestFromFlags } from '#lib/client/request.ts';
import type { RequestSource } from '#lib/client/request-source.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { readText } from './read-text.ts';

type SameFlags = Omit<RequestFlags, 'imageUrls' | 'ppas' | 'packages' | 'foreignArchitectures' | 'debconf'>;

/** The options that say what is to be built. Those that may be repeated have the names of one. */
export interface RequestOptions extends SameFlags {
  readonly imageUrl?: readonly string[];
  readonly ppa?: readonly string[];
  readonly package?: readonly string[];
  readonly foreignArchitecture?: readonly string[];
  /** Path of a file for debconf-set-selections. */
  readonly debconfSelections?: string;
  /** Path of a file with the whole request, or `-`. */
  readonly request?: string;
}

/** A request as it is sent, and the place that its faults are named by. */
export interface NamedRequest {
  readonly request: unknown;
  readonly source: RequestSource;
}

/** The request that the options name, from a file or in parts. Throws `request.invalid` and `request.malformed`. */
export async function readBuildRequest(options: RequestOptions): Promise<NamedRequest> {
  return options.request === undefined ? await fromFlags(options) : await readRequest(options);
}

async function fromFlags(options: RequestOptions): Promise<NamedRequest> {
  const { imageUrl: imageUrls = [], ppa: ppas = [], package: packages = [] } = options;
  const { debconfSelections: file, foreignArchitecture: foreignArchitectures } = options;
  // Answers may be passwords, which do not belong into the arguments of a command.
  const debconf =
    file === undefined
      ? {}
      : { debconf: { path: file, lines: debconfLines(await readText(file, '--debconf-selections')) } };
  const foreign = foreignArchitectures === undefined ? {} : { foreignArchitectures };
  const flags: RequestFlags = { ...options, imageUrls, ppas, packages, ...debconf, ...foreign };
  return { request: requestFromFlags(flags, () => `command-${randomUUID()}`), source: { flags } };
}

async function readRequest(options: RequestOptions): Promise<NamedRequest> {
  const { request = '-' } = options;
  if (options.package !== undefined && options.package.length > 0) {
    throw new ImageBuilderError(
      'request.invalid',
      '--request holds the whole request: packages cannot be named beside it',
    );
  }
  const text = request === '-' ? await readAll(process.stdin) : await readText(request, '--request');
  const file = request === '-' ? 'standard input' : request;
  try {
    // Editors of Windows begin a file with a byte order mark.
    return { request: JSON.parse(text.replace(/^\ufeff/, '')), source: { file } };
  } catch (error) {
    throw new ImageBuilderError('request.malformed', `${file} is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
