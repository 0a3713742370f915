/** Numbers and times as people read them. */

/**
 * `0:07`, `12:34`, `1:02:03`
 *
 * @param {number} seconds
 */
export function formatSeconds(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = String(whole % 60).padStart(2, '0');
  return hours === 0 ? `${minutes}:${rest}` : `${hours}:${String(minutes).padStart(2, '0')}:${rest}`;
}

/**
 * Time of a step: `0.2 s`, `12 s`, `3 min 20 s`.
 *
 * @param {number} ms
 */
export function formatSpan(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/**
 * The moment in the reader's time zone; of today, the time alone.
 *
 * @param {string} moment
 * @param {Date} now
 */
export function formatMoment(moment, now) {
  const date = new Date(moment);
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  if (date.toDateString() === now.toDateString()) return time;
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${time}`;
}

/** @param {number} value */
function pad(value) {
  return String(value).padStart(2, '0');
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [several]
 */
export function counted(count, one, several = `${one}s`) {
  return `${count} ${count === 1 ? one : several}`;
}

/**
 * The text, where it is the address of something on the web; else null. Other schemes get no link.
 *
 * @param {string} text
 */
export function webAddress(text) {
  if (!URL.canParse(text)) return null;
  const { protocol, href } = new URL(text);
  return protocol === 'https:' || protocol === 'http:' ? href : null;
}

/**
 * The lines that `current` holds beyond `previous`, where both are the last lines of one growing log; null where they
 * have no line in common, so that lines are missing in between.
 *
 * @param {readonly string[]} previous
 * @param {readonly string[]} current
 */
export function newLines(previous, current) {
  for (let overlap = Math.min(previous.length, current.length); overlap > 0; overlap -= 1) {
    const start = previous.length - overlap;
    let same = 0;
    while (same < overlap && previous[start + same] === current[same]) same += 1;
    if (same === overlap) return current.slice(overlap);
  }
  return previous.length === 0 ? current : null;
}
