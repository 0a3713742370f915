import type { GuestReport } from '#lib/api/event.ts';
import { loadConfig } from '#lib/config/load.ts';
import { type Diagnosis, diagnose, diagnoseUnsettled } from '#lib/doctor/diagnose.ts';
import type { Finding } from '#lib/doctor/finding.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { readOpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { plain } from '#lib/text.ts';
import { version } from '#lib/version.ts';

/** A person waits, so servers out of reach get less time than in a build. */
const retry = { delayMs: 500, maximumDelayMs: 2_000, patienceMs: 3_000 } as const;

/**
 * Prints line by line what this machine can do for builds. Resolves with the exit code: 0, or 1 where no build can run.
 */
export async function doctor({ json = false }: { readonly json?: boolean }): Promise<number> {
  const write = (value: Finding | Diagnosis, text: string) => {
    process.stdout.write(`${json ? JSON.stringify(value) : text}\n`);
  };
  const looking = await begin();
  for (;;) {
    const { done, value } = await looking.next();
    if (done) {
      write(value, describeDiagnosis(value));
      return value.ok ? 0 : 1;
    }
    write(value, describeFinding(value));
  }
}

async function begin(): Promise<AsyncGenerator<Finding, Diagnosis>> {
  try {
    const config = loadConfig();
    const { broker, folders, guest, http, image, limits, store, tools } = config;
    const openStack = await readOpenStackConfiguration({ environment: process.env, ...config.openStack });
    const log = createLog({ level: 'error', secrets: [...config.log.secrets, ...(openStack?.secrets ?? [])] });
    return diagnose({
      settings: { broker, folders, guest, image, limits, store, tools },
      store: {
        settings: { ...folders, ...store, ...http },
        openStack,
        userAgent: `imagebuilder/${version}`,
        log,
        retry,
      },
    });
  } catch (error) {
    if (error instanceof ImageBuilderError && error.code === 'config.invalid') return diagnoseUnsettled(error);
    throw error;
  }
}

function describeFinding({ what, ok, detail, todo, packages }: Finding): string {
  const mark = !ok ? 'FAIL' : todo === undefined && packages === undefined ? 'ok' : 'note';
  return `${mark.padEnd(4)}  ${what}: ${plain(detail)}`;
}

function describeDiagnosis({ ok, guest, todo }: Diagnosis): string {
  const heading = todo.length === 0 ? [] : ['', ok ? 'To do, for better:' : 'To do:'];
  const summary = ok && guest !== null ? `Builds can run here, ${describeGuest(guest)}.` : 'No build can run here.';
  return ['', summary, ...heading, ...todo.map((line) => `  - ${plain(line)}`)].join('\n');
}

function describeGuest({ kind, accelerator }: GuestReport): string {
  if (accelerator === null) return `in the ${kind} guest`;
  return `in the ${kind} guest ${accelerator === 'kvm' ? 'with KVM' : 'without KVM, slowly'}`;
}
