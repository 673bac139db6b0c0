/** What renders markdown, once there was some; a live binding. */
export let renderer
let loading

/** Markdown that is there before this has resolved is shown as it was written, and rendered then. */
export async function loadRenderer () {
  loading ??= import('./render.js')
  try {
    renderer = await loading
  } catch {
    // Tried again with the next text.
    loading = undefined
  }
}
