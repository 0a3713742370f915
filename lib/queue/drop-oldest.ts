/** Drops the oldest entries of a map or set beyond `maximum`. */
export function dropOldest(entries: Map<string, unknown> | Set<string>, maximum: number): void {
  for (const key of entries.keys()) {
    if (entries.size <= maximum) return;
    entries.delete(key);
  }
}
