import { ImageBuilderError } from '../../errors.ts';

/** What programs say where there is no network: resolvers, curl, wget, Python, Node, git, and the kernel's own words. */
const withoutNetwork =
  /Temporary failure (in name resolution|resolving)|(Could not|Couldn't|unable to|failed to|cannot) (resolve|look ?up)|Name or service not known|nodename nor servname|Network is unreachable|getaddrinfo|EAI_AGAIN|ENETUNREACH|Failed to connect to|No address associated with hostname|No route to host/i;

/**
 * Says what to do where a package's script failed for want of a network: the log of that package, from the line with
 * which dpkg begins on it to the one that says that it failed, shows it. Other errors stay as they are.
 */
export function explainNetworkFailure(error: ImageBuilderError, lines: readonly string[]): ImageBuilderError {
  if (error.code !== 'apt.install') return error;
  const names = failedSections(lines).flatMap(({ name, section }) =>
    section.some((line) => withoutNetwork.test(line)) ? [name] : [],
  );
  if (names.length === 0) return error;
  const whose = [...new Set(names)].join(', ');
  return new ImageBuilderError(
    'apt.install',
    `${error.message}. The scripts of ${whose} want the network, which the vm guest keeps from them: IMAGEBUILDER_VM_NETWORK=true lets them reach it, under the same egress rules`,
    { cause: error, logTail: error.logTail },
  );
}

function failedSections(lines: readonly string[]): { name: string; section: readonly string[] }[] {
  return lines.flatMap((line, index) => {
    const name = /^dpkg: error processing (?:package|archive) (\S+) \(--/.exec(line)?.[1];
    if (name === undefined) return [];
    const bare = name.replace(/^.*\//, '').replace(/_.*\.deb$|:.*$/, '');
    const begins = lines.findLastIndex(
      (other, place) =>
        place < index && /^(Setting up|Preparing to unpack|Unpacking|Removing|Processing triggers for) /.test(other),
    );
    return [{ name: bare, section: lines.slice(Math.max(0, begins), index) }];
  });
}
