import { StartProblem } from '../lib/start-problem.js'

/**
 * Where Modal is harder on its clients than a machine of one's own, or may be: what is not documented is as hard as it
 * could be. Each behaviour has a number, of what is said here; those that only exist or not have 1.
 */
const behaviours = {
  /** Creates a second; those beyond are turned away, and told when to try again. */
  throttle: 5,
  /** Milliseconds by which a create is delayed, before or after it takes place; every seventh by ten times as much. */
  'slow-creates': 100,
  /** Milliseconds after which a new sandbox appears in lists. */
  'late-lists': 1000,
  /** A list of sandboxes is one of an app: Modal calls the list of a whole environment deprecated. */
  'lists-of-apps': 1,
  /** Tags that a sandbox may have. */
  'few-tags': 8,
  /** Milliseconds after its end when a sandbox is forgotten. */
  forgotten: 300_000,
  /** An idle time-out and a failed start are told by a status: the exit code is 0, and the create succeeds. */
  'told-ends': 1,
  /** Commands have sockets for standard streams; MiB of unread output beyond which one has to wait. */
  sockets: 1,
  /** Volumes keep times in whole seconds; there are neither hard links nor FIFOs nor locks on them. */
  'plain-volumes': 1,
  /** Nobody reaps the orphans of a sandbox. */
  zombies: 1,
  /** A sandbox whose processes use more memory than its limit ends; milliseconds between two looks. */
  'memory-limits': 250
}

export type Behaviour = keyof typeof behaviours

/** The behaviours that are on, with their numbers. */
export type Strictness = Readonly<Partial<Record<Behaviour, number>>>

/**
 * Reads `EMULATOR_STRICT`: `1` for all behaviours, or names of some, separated by commas; after a name, `=` and another
 * number, or `=off`. Later ones win: `1,slow-creates=3000,zombies=off`.
 * @throws {StartProblem} naming what it does not know
 */
export function parseStrictness (text = ''): Strictness {
  const strictness: Partial<Record<Behaviour, number>> = {}
  for (const item of text.split(',').map((item) => item.trim()).filter((item) => item !== '' && item !== '0')) {
    const [name, value] = item.split('=') as [string, string?]
    if (item === '1') Object.assign(strictness, behaviours)
    else if (!isBehaviour(name)) throw problem(`names ${name}`)
    else if (value === 'off') delete strictness[name]
    else if (value !== undefined && !/^[1-9]\d{0,8}$/.test(value)) throw problem(`gives ${name} no positive number`)
    else strictness[name] = value === undefined ? behaviours[name] : Number(value)
  }
  return strictness
}

function isBehaviour (name: string): name is Behaviour {
  return Object.hasOwn(behaviours, name)
}

function problem (text: string): StartProblem {
  return new StartProblem(`EMULATOR_STRICT ${text}: it must be 1, or a list of ${Object.keys(behaviours).join(', ')}`)
}
