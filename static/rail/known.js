import { browserStorage } from '../lib/storage.js'

/** Titles and times of so many conversations are remembered, of those with the latest activity. */
const most = 200
const longestTitle = 100
/** The service lists no more of a sandbox. */
const listed = 100

/**
 * @typedef {object} Conversation
 * @property {string} sessionId
 * @property {string} title
 * @property {string} updatedAt
 * @property {string} seenAt its `updatedAt` when it was last shown, or first seen
 * @property {object} sandbox in which it was last seen: its id, name, volume, and what else makes another one like it
 * @property {boolean} live whether that sandbox is running
 * @property {'working' | 'waiting' | ''} state
 */

/** Where the conversations of a sandbox lie: on its volume, or in the sandbox itself, with which they end. */
export function workspaceOf ({ id, volume }) {
  return volume && !volume.readOnly ? `volume ${volume.name}/${volume.subPath ?? ''}` : id
}

/**
 * The account's conversations that this browser has seen, also of sandboxes that have ended, which nobody can ask any
 * more. Nothing of what was said but titles, and nothing secret.
 */
export class Known {
  #key
  /** @type {Map<string, Conversation>} */
  #conversations = new Map()

  constructor (account) {
    this.#key = `known.${account}`
    this.read()
  }

  /** Adds what other tabs have stored, and what was seen there. */
  read () {
    const { conversations = [], sandboxes = {} } = browserStorage.read(this.#key, {})
    for (const { sandboxId, ...rest } of conversations) {
      const sandbox = sandboxes[sandboxId]
      if (sandbox === undefined) continue
      const known = this.#conversations.get(keyOf(sandbox, rest.sessionId))
      if (known === undefined) {
        this.#conversations.set(keyOf(sandbox, rest.sessionId), { ...rest, sandbox, live: false, state: '' })
      } else if (rest.seenAt > known.seenAt) known.seenAt = rest.seenAt
    }
  }

  /** Newest first. @returns {Conversation[]} */
  get list () {
    return [...this.#conversations.values()].sort((one, other) => one.updatedAt < other.updatedAt ? 1 : -1)
  }

  /** @returns {Conversation | undefined} */
  find (sandboxId, sessionId) {
    return this.list.find((one) => one.sessionId === sessionId && one.sandbox.id === sandboxId) ??
      this.list.find((one) => one.sessionId === sessionId)
  }

  /**
   * Takes what the running sandboxes say.
   * @param {{sandbox: object, sessions?: object[], runs?: object[]}[]} running without sessions where that is not known
   */
  update (running) {
    for (const one of this.#conversations.values()) Object.assign(one, { live: false, state: '' })
    for (const { sandbox, sessions } of running) if (sessions !== undefined) this.#forgetDeleted(sandbox, sessions)
    // The latest sandbox of a workspace comes last: it is the one to go on in, unless Claude is at work in another.
    for (const { sandbox, sessions, runs = [] } of running.toReversed()) {
      for (const session of sessions ?? this.#of(sandbox)) this.#add(sandbox, session, stateOf(session, sandbox, runs))
    }
    this.#save()
  }

  /** What happens in one conversation, which may be new. */
  note (sandbox, session, state) {
    const { title } = this.find(sandbox.id, session.sessionId) ?? session
    this.#add(sandbox, { ...session, title: title || session.title }, state)
    this.#save()
  }

  /** What somebody has changed of one conversation. */
  change (sandboxId, sessionId, change) {
    const one = this.find(sandboxId, sessionId)
    if (one === undefined) return
    Object.assign(one, change)
    this.#save()
  }

  /** A sandbox has ended; another one may have the same workspace, as the next look will tell. */
  end (sandboxId) {
    for (const one of this.list) if (one.sandbox.id === sandboxId) Object.assign(one, { live: false, state: '' })
  }

  /** The user has seen all of it. */
  see (sandboxId, sessionId) {
    const one = this.find(sandboxId, sessionId)
    if (one !== undefined && one.seenAt !== one.updatedAt) this.change(sandboxId, sessionId, { seenAt: one.updatedAt })
  }

  forget ({ sandbox, sessionId }) {
    this.#conversations.delete(keyOf(sandbox, sessionId))
    this.#save()
  }

  #of (sandbox) {
    return this.list.filter((one) => workspaceOf(one.sandbox) === workspaceOf(sandbox))
  }

  #add (sandbox, { sessionId, title, updatedAt }, state) {
    const key = keyOf(sandbox, sessionId)
    const known = this.#conversations.get(key)
    const elsewhere = known?.live === true && known.sandbox.id !== sandbox.id && known.state !== '' && state === ''
    this.#conversations.set(key, {
      sessionId,
      title: [...title].slice(0, longestTitle).join(''),
      updatedAt: known && known.updatedAt > updatedAt ? known.updatedAt : updatedAt,
      seenAt: known?.seenAt ?? updatedAt,
      sandbox: elsewhere ? known.sandbox : essentials(sandbox),
      live: true,
      state: elsewhere ? known.state : state
    })
  }

  /** A sandbox sees what it has itself, and what was on its volume when it was created. */
  #forgetDeleted (sandbox, sessions) {
    if (sessions.length >= listed) return
    for (const one of this.#of(sandbox)) {
      const isThere = sessions.some(({ sessionId }) => sessionId === one.sessionId)
      if (!isThere && (one.sandbox.id === sandbox.id || one.updatedAt < sandbox.createdAt)) this.forget(one)
    }
  }

  #save () {
    const kept = this.list.slice(0, most)
    if (kept.length === 0) return browserStorage.write(this.#key, undefined)
    browserStorage.write(this.#key, {
      conversations: kept.map(({ sandbox, sessionId, title, updatedAt, seenAt }) =>
        ({ sandboxId: sandbox.id, sessionId, title, updatedAt, seenAt })),
      sandboxes: Object.fromEntries(kept.map(({ sandbox }) => [sandbox.id, sandbox]))
    })
  }
}

function keyOf (sandbox, sessionId) {
  return `${workspaceOf(sandbox)} ${sessionId}`
}

/** What is needed to make another one with the same workspace. */
function essentials ({ id, name, workdir, volume, s3 }) {
  return { id, name, workdir, volume, s3 }
}

function stateOf ({ sessionId }, { id }, runs) {
  const run = runs.find((one) => one.status === 'running' && one.sandboxId === id && one.sessionId === sessionId)
  if (run === undefined) return ''
  return run.pendingPermissions?.length > 0 ? 'waiting' : 'working'
}
