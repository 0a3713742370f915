import type { OpenFile } from '#lib/client/download.ts';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createConnections } from '#lib/http/connections.ts';
import { createLog } from '#lib/log.ts';
import { createOpenStackStores, impatientRetry } from '#lib/store/choose.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import type { Session } from '#lib/store/openstack/session.ts';
import { plain } from '#lib/text.ts';
import { version } from '#lib/version.ts';

const userAgent = `imagebuilder/${version}`;

/**
 * Opens files in Swift by their download URLs, and others in Swift and Glance with the OpenStack settings of this
 * environment, which are read when they are first needed.
 */
export function openRemoteFiles(signal: AbortSignal): OpenFile {
  let session: Promise<Session> | undefined;
  return async ({ name, location, store, download_url: url }, startByte) => {
    const headers: Record<string, string> = startByte === 0 ? {} : { range: `bytes=${startByte}-` };
    if (url !== undefined) {
      const { connectTimeoutMs, stallTimeoutMs, proxies, trust } = loadConfig().http;
      const connections = createConnections({ connectTimeoutMs, stallTimeoutMs, proxies, trust, userAgent });
      return await connections.send(url, { headers, signal });
    }
    session ??= openSession(name);
    const opened = await session;
    if (store === 'glance') return await opened.open('image', `${location}/file`, { headers, signal });
    return await opened.open('object-store', location, { headers, signal });
  };
}

async function openSession(name: string): Promise<Session> {
  const config = loadConfig();
  const openStack = await readOpenStackConfiguration({ environment: process.env, ...config.openStack });
  if (openStack === null) {
    throw new ImageBuilderError(
      'request.invalid',
      `${plain(name)} is in OpenStack, and has no download URL: name your cloud with OS_CLOUD or OS_AUTH_URL, as for OpenStack's own tools`,
    );
  }
  const log = createLog({ level: 'error', secrets: [...config.log.secrets, ...openStack.secrets] });
  const settings = { ...config.folders, ...config.store, ...config.http };
  return createOpenStackStores({ settings, openStack, userAgent, log, retry: impatientRetry }).session;
}
