import type { Download } from '../apt/downloads.ts';

/**
 * Whether nothing but apt has fetched through the proxy of a build: `asked` are the URLs, `https://host:port/` for tunnels.
 * Package files are known by their names, since apt may be sent to mirrors. Scripts of packages can ask servers for more,
 * and the next time get another answer.
 */
export function isOffline(asked: Iterable<string>, downloads: readonly Pick<Download, 'url'>[]): boolean {
  const names = new Set(downloads.map(({ url }) => lastPart(url)));
  const servers = new Set(downloads.flatMap(({ url }) => (URL.canParse(url) ? [new URL(url).hostname] : [])));
  return [...asked].every((url) => {
    if (!URL.canParse(url)) return false;
    const { protocol, hostname } = new URL(url);
    return protocol === 'https:' ? servers.has(hostname) : names.has(lastPart(url));
  });
}

function lastPart(url: string): string {
  const name = url.slice(url.lastIndexOf('/') + 1);
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
