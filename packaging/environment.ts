import { allSettings } from '#lib/config/load.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import type { Setting } from '#lib/config/setting.ts';
import { wakeSettings } from '#lib/config/wake.ts';

const columns = 100;

/** `imagebuilder serve` sets these itself. */
const ofServe: readonly Setting[] = Object.values(wakeSettings);

/** Options of `imagebuilder serve` that are variables, too. */
const serveVariables = [
  {
    variable: 'IMAGEBUILDER_LISTEN',
    fallback: '127.0.0.1:8000',
    meaning:
      'Address and port of the API. Before another address than this machine’s own, set the secret `imagebuilder-token` or `imagebuilder-tokens`: callers without one can do everything.',
  },
  {
    variable: 'IMAGEBUILDER_ALLOWED_HOSTS',
    fallback: '',
    meaning:
      'Names that callers may use for this machine, separated by commas, beside its addresses, its name, and those of IMAGEBUILDER_LISTEN and IMAGEBUILDER_PUBLIC_URL.',
  },
] as const;

/**
 * The file of settings that an installation begins with, in systemd's format for `EnvironmentFile=`. Every setting stands
 * in it as a comment, with its meaning and its default.
 */
export function environmentFile(): string {
  const settings = [...serveVariables, ...allSettings.filter((setting) => !ofServe.includes(setting))];
  return `${[
    comment(
      'Settings of imagebuilder.service. After a change: systemctl restart imagebuilder. The journal then says what is wrong with a setting: journalctl -u imagebuilder.',
    ),
    comment(
      'Before the first build: say where RabbitMQ is, unless it is on this machine with its default user (IMAGEBUILDER_AMQP_URL, or the secret imagebuilder-amqp-url where the URL has a password). Finished images go to IMAGEBUILDER_STORE_DIRECTORY, or to an OpenStack cloud with OS_AUTH_URL and the other OS_ variables, or with the secret openstack-clouds.',
    ),
    comment(
      `Secrets stand in no setting. They are files in /etc/imagebuilder/secrets that the group imagebuilder may read: ${Object.values(
        secretFiles,
      )
        .map(({ file }) => file)
        .join(', ')}.`,
    ),
    ...settings.map(({ variable, fallback, meaning }) => `${comment(plain(meaning))}\n#${variable}=${fallback}`),
  ].join('\n\n')}\n`;
}

/** Text of a page, with links as the paths of their pages. */
function plain(text: string): string {
  return text.replaceAll(/\[([^[\]]+)\]\([^()]*\)/g, '$1').replaceAll('`', '');
}

function comment(text: string): string {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > columns && line !== '#') {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line].join('\n');
}
