/**
 * The addresses of the page: `#sandbox=<id>` is a sandbox with its latest conversation, `#sandbox=<id>/<conversation>`
 * one conversation of it, `#sandbox=<id>/new` an empty one. Anything else is the start page.
 */
export function chatHash (sandboxId, place) {
  return `#sandbox=${encodeURIComponent(sandboxId)}${place === undefined ? '' : `/${encodeURIComponent(place)}`}`
}

/** @returns {{sandboxId?: string, place?: string}} */
export function readHash (hash) {
  const [, sandboxId, place] = /^#sandbox=([^/]+)(?:\/([^/]+))?$/.exec(hash) ?? []
  try {
    return sandboxId === undefined
      ? {}
      : { sandboxId: decodeURIComponent(sandboxId), place: place === undefined ? undefined : decodeURIComponent(place) }
  } catch {
    return {}
  }
}
