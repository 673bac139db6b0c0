/** What a browser may remember: preferences and drafts, never a credential. Storage may be full or forbidden. */
class Memory {
  #storage

  constructor (storage) {
    this.#storage = storage
  }

  read (key, fallback) {
    try {
      return JSON.parse(this.#storage().getItem(`modal-sandbox.${key}`)) ?? fallback
    } catch {
      return fallback
    }
  }

  write (key, value) {
    try {
      if (value === undefined) this.#storage().removeItem(`modal-sandbox.${key}`)
      else this.#storage().setItem(`modal-sandbox.${key}`, JSON.stringify(value))
    } catch {}
  }
}

/** In this browser, until somebody clears it. */
export const remembered = new Memory(() => localStorage)
/** In this tab, until it is closed. */
export const inThisTab = new Memory(() => sessionStorage)
