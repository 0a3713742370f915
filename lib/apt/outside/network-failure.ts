import { ImageBuilderError } from '../../errors.ts';
import { someOf, upTo } from '../../text.ts';
import { packageOf, parseDpkgFailure } from '../dpkg-failure.ts';

/** Messages of programs without a network: resolvers, curl, wget, Python, Node, git, and the kernel's own words. */
const withoutNetwork =
  /Temporary failure (in name resolution|resolving)|(Could not|Couldn't|unable to|failed to|cannot) (resolve|look ?up)|Name or service not known|nodename nor servname|Network is unreachable|getaddrinfo|EAI_AGAIN|ENETUNREACH|Failed to connect to|No address associated with hostname|No route to host/i;

/**
 * Adds advice where a package's script failed for want of a network. The log of that package shows it, from the line
 * with which dpkg begins on the package to the one that reports the failure. Other errors stay as they are.
 */
export function explainNetworkFailure(error: ImageBuilderError, lines: readonly string[]): ImageBuilderError {
  if (error.code !== 'apt.install') return error;
  const names = failedWithoutNetwork(lines);
  if (names.size === 0) return error;
  const whose = someOf([...names]);
  return new ImageBuilderError(
    'apt.install',
    `${error.message}. The scripts of ${whose} want the network, which the vm guest keeps from them: IMAGEBUILDER_VM_NETWORK=true lets them reach it, under the same egress rules`,
    { cause: error, logTail: error.logTail },
  );
}

/** Lines with which dpkg begins on a package. */
const begins = /^(Setting up|Preparing to unpack|Unpacking|Removing|Processing triggers for) /;

/** Packages that failed after their log spoke of the network. Looks at each line once. */
function failedWithoutNetwork(lines: readonly string[]): Set<string> {
  const names = new Set<string>();
  let said = false;
  for (const line of lines) {
    const failure = parseDpkgFailure(line);
    if (failure !== null && said) names.add(upTo(packageOf(failure.name), ':'));
    if (begins.test(line)) said = false;
    said ||= withoutNetwork.test(line);
  }
  return names;
}
