/** Stores preferences and drafts as JSON, never credentials. Failures are ignored: storage may be full or disabled. */
class JsonStorage {
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

  /** Removes everything whose key begins with `prefix`. */
  clear (prefix) {
    try {
      const storage = this.#storage()
      for (const key of Object.keys(storage)) if (key.startsWith(`modal-sandbox.${prefix}`)) storage.removeItem(key)
    } catch {}
  }
}

/** Kept in this browser. */
export const browserStorage = new JsonStorage(() => localStorage)
/** Kept in this tab until it is closed. */
export const tabStorage = new JsonStorage(() => sessionStorage)
