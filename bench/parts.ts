/** Parts of a build that describe it, which `--documents` times by builds that go without. */
export const parts = {
  documents: { title: 'manifest, changes and bills of materials', steps: ['check', 'upload'] },
  walk: { title: 'list of changed files', steps: ['seal'] },
  addresses: { title: 'addresses of packages', steps: ['install'] },
  logs: { title: 'log in store and RabbitMQ, metrics', steps: ['log'] },
} as const satisfies Readonly<Record<string, { readonly title: string; readonly steps: readonly string[] }>>;

export type Part = keyof typeof parts;

export function isPart(name: string): name is Part {
  return Object.hasOwn(parts, name);
}

export const allParts: readonly Part[] = Object.keys(parts).filter(isPart);
