// Files from the page's own host, kept in the browser's cache, with a plain word for whatever can go wrong.

const KEPT = "course-models";
const MEMORY = "This browser has too little memory for the model: close other tabs or programs and load it again, or take a smaller model.";
const LOST = "The connection was lost before the model was there: see that you are online, and load it again.";

export class LoadError extends Error {}

/** What an error of loading means to a reader. */
export function inPlainWords(error) {
  if (error instanceof LoadError) return error.message;
  if (error instanceof RangeError) return MEMORY; // what a browser throws when an array can't be had
  return `The model can't be read: ${error.message}. Load it again; if that doesn't help, its file in this site is damaged.`;
}

const cacheOf = async () => (globalThis.caches ? caches.open(KEPT).catch(() => null) : null); // private windows may refuse

/** Only one tab at a time fetches a file: the others wait, and find it in the cache. */
async function alone(url, isWaiting, get) {
  if (!navigator.locks) return get();
  const free = await navigator.locks.request(url, { ifAvailable: true }, (lock) => lock && get().then((value) => ({ value })));
  if (free) return free.value;
  isWaiting();
  return navigator.locks.request(url, get);
}

/**
 * Get a file as bytes.
 *
 * @param {string} url where it is
 * @param {number} bytes how long it must be
 * @param {{onProgress: function(number), onWait: function()}} tell bytes that came; another tab is at it
 * @returns {Promise<{content: Uint8Array, from: "cache"|"site", kept: boolean}>}
 */
export function getFile(url, bytes, tell) {
  return alone(url, tell.onWait, async () => {
    const cache = await cacheOf();
    const found = await cache?.match(url);
    if (found) {
      const content = new Uint8Array(await found.arrayBuffer());
      if (content.length === bytes) {
        tell.onProgress(bytes);
        return { content, from: "cache", kept: true };
      }
      await cache.delete(url);
    }
    const content = await fetchWhole(url, bytes, tell.onProgress);
    const kept = !!cache && (await cache.put(url, new Response(content)).then(() => true, () => false)); // its room is limited
    return { content, from: "site", kept };
  });
}

async function fetchWhole(url, bytes, onProgress) {
  const name = new URL(url).pathname.split("/").pop();
  const response = await fetch(url).catch(() => { throw new LoadError(LOST); });
  if (!response.ok) throw new LoadError(`${name} is not on this site (status ${response.status}): the page was published without it.`);
  const content = new Uint8Array(bytes); // a RangeError where there is no memory
  const reader = response.body.getReader();
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => { throw new LoadError(LOST); });
    if (done) break;
    if (length + value.length <= bytes) content.set(value, length);
    length += value.length;
    onProgress(value.length);
  }
  if (length !== bytes) throw new LoadError(`${name} is not whole: ${length.toLocaleString("en")} of ${bytes.toLocaleString("en")} bytes came. Load it again; if that doesn't help, its file in this site is damaged.`);
  return content;
}
