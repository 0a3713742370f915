import { type Client, createClient, type Token } from '#lib/client/client.ts';
import { ImageBuilderError, safeUrl } from '#lib/errors.ts';
import { plain, quoted } from '#lib/text.ts';
import { parseTraceContext } from '#lib/trace-context.ts';
import { readText } from './read-text.ts';

export interface GatewayOptions {
  readonly url: string;
  readonly tokenFile?: string;
}

/**
 * A client of the gateway that the options name. Its submissions belong to the operation of the variables `TRACEPARENT`
 * and `TRACESTATE`, by which programs that run others hand their traces on. Throws `request.invalid` for options that
 * name none.
 */
export async function openClient(options: GatewayOptions, signal?: AbortSignal): Promise<Client> {
  if (!URL.canParse(options.url) || !/^https?:$/.test(new URL(options.url).protocol)) {
    const given = URL.canParse(options.url) ? safeUrl(options.url) : options.url;
    throw new ImageBuilderError('request.invalid', `--url must be an http or https URL, not ${quoted(given)}`);
  }
  const token = options.tokenFile === undefined ? undefined : await readToken(options.tokenFile);
  const { TRACEPARENT: traceparent, TRACESTATE: tracestate } = process.env;
  return createClient({
    url: options.url,
    trace: parseTraceContext({ traceparent, tracestate }),
    ...(token === undefined ? {} : { token }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function readToken(file: string): Promise<Token> {
  const text = (await readText(file, '--token-file')).trim();
  if (/^[\x21-\x7e]+$/.test(text)) return { text, file };
  throw new ImageBuilderError(
    'request.invalid',
    `--token-file ${plain(file)} ${text === '' ? 'is empty' : 'must hold one token alone, of letters, digits and signs of ASCII'}`,
  );
}
