/**
 * Configuration for one run of apt, read after the image's own (`apt-get -c`) and therefore stronger: the file that
 * APT_CONFIG names is read first and weaker. It lies on the guest's tmpfs, so no proxy stays in the image.
 */
export interface AptConfiguration {
  /** An http proxy that fetches, and caches, for apt; null leaves the image's own configuration alone. */
  readonly proxyUrl: string | null;
  /** Take nothing from the proxy's cache that is not named by its own digest. Default false. */
  readonly anew?: boolean;
  /** Let apt take an older version than the installed one, where it is asked for by its number. Default false. */
  readonly allowDowngrades?: boolean;
}

const fixed = `
// What the image's sources do not trust is not used, whatever the image itself allows.
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";

// An installation installs all that was asked for, whatever the image has apt-get do by default.
APT::Get::Download "true";
APT::Get::Download-Only "false";
APT::Get::Fix-Missing "false";
APT::Get::Ignore-Missing "false";
APT::Get::Only-Upgrade "false";
APT::Get::Print-URIs "false";
APT::Get::ReInstall "false";
APT::Get::Simulate "false";
APT::Get::Trivial-Only "false";
APT::Get::Upgrade "true";

// dpkg works on the image itself, and apt's memory for the lists grows as it needs: images of old have limits there.
DPkg::Chroot-Directory "/";
DPkg::Run-Directory "/";
APT::Cache-Grow "1048576";
APT::Cache-Limit "0";

// Any repository that fails makes update fail; apt before 2.1 does not know this, there its messages tell.
APT::Update::Error-Mode "any";
Acquire::http::Timeout "60";
Acquire::https::Timeout "60";

// Lists serve this build alone and are not part of the image: only what installing needs is fetched, and the image's
// own hooks, which keep databases beside the lists, do not run.
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-large::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;

// Whoever asks for a package gets its newest version: a build is not one of the machines that an update is phased over.
APT::Get::Always-Include-Phased-Updates "true";

// A broken-off build is thrown away as a whole, so nothing is gained by syncing every file. Configuration files of the
// image that were changed are kept, and nobody is there to be asked.
Dpkg::Options { "--force-unsafe-io"; "--force-confdef"; "--force-confold"; };
Dpkg::Use-Pty "false";
`;

/** The text of an apt.conf. */
export function renderAptConfiguration(options: AptConfiguration): string {
  const downgrades = options.allowDowngrades === true ? 'APT::Get::allow-downgrades "true";\n' : '';
  return `${renderFetching(options)}${downgrades}`;
}

function renderFetching({ proxyUrl, anew = false }: AptConfiguration): string {
  if (proxyUrl === null) return `${fixed.trimStart()}\nAcquire::Retries "3";\n`;
  const url = new URL(proxyUrl).href.replace(/\/$/, '');
  const proxy = ['http', 'https'].map(
    (scheme) =>
      `#clear Acquire::${scheme}::Proxy;\n#clear Acquire::${scheme}::Proxy-Auto-Detect;\n#clear Acquire::${scheme}::ProxyAutoDetect;\nAcquire::${scheme}::Proxy "${url}";\n`,
  );
  // The proxy waits for servers and retries by itself, and knows more than apt: apt's own time limit would cut that
  // short. apt's one retry is for downloads that broke off in the middle. The proxy cannot see into https.
  const patience = 'Acquire::Retries "1";\nAcquire::http::Timeout "900";\nAcquire::https::Timeout "60";\n';
  // The way from the proxy to servers is the worker's affair. Beside a loopback interface alone, apt would not even find
  // 127.0.0.1 when it is held to one version of IP.
  const way =
    'Acquire::ForceIPv4 "false";\nAcquire::ForceIPv6 "false";\nAcquire::http::Dl-Limit "0";\nAcquire::https::Dl-Limit "0";\n';
  const cache = anew ? 'Acquire::http::No-Cache "true";\n' : '';
  return `${fixed.trimStart()}\n${patience}${way}${cache}${proxy.join('')}`;
}
