import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** The project's own files that a file imports, types included; paths are relative to `repository`. */
export function importsOf(repository: string, file: string): string[] {
  const text = readFileSync(join(repository, file), 'utf8');
  return [...text.matchAll(/(?:from|import\(?) ?'([.#][^']*\.ts)'/g)].map(([, target = '']) =>
    target.startsWith('#lib/')
      ? join('lib', target.slice('#lib/'.length))
      : relative(repository, join(repository, dirname(file), target)),
  );
}

/** The files of `graph` (each with what it imports) that are in `changed` or import one of it, directly or not. */
export function dependentsOf(graph: ReadonlyMap<string, readonly string[]>, changed: readonly string[]): Set<string> {
  const importers = new Map<string, string[]>();
  for (const [file, targets] of graph) {
    for (const target of targets) importers.set(target, [...(importers.get(target) ?? []), file]);
  }
  const found = new Set<string>();
  const open = changed.filter((file) => graph.has(file));
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (found.has(file)) continue;
    found.add(file);
    open.push(...(importers.get(file) ?? []));
  }
  return found;
}
