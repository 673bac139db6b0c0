import { getJson, paths } from '../lib/api.js'
import { words } from '../lib/words.js'
import { mention } from './mention.js'

/** What the CLI has before it has said so itself, and what it is good for. */
const builtIn = words.composer.commandMeanings
/** The CLI's own state. */
const claudeDirectory = '.claude-sandbox'

/** Those that begin with the word come before those that contain it. */
function matching (items, word, nameOf) {
  const wanted = word.toLowerCase()
  const places = items.map((item) => [item, nameOf(item).toLowerCase().indexOf(wanted)])
  return [...places.filter(([, at]) => at === 0), ...places.filter(([, at]) => at > 0)].map(([item]) => item)
}

/**
 * Commands of the CLI, at the beginning of a prompt.
 * @param {() => string[] | undefined} names those that it has named
 */
export function commandSource (names) {
  return {
    label: words.composer.commands,
    wordAt (before) {
      const [word] = /^\/\S*$/.exec(before) ?? []
      return word === undefined ? undefined : { start: 0, word }
    },
    async find (word) {
      const found = matching(names() ?? Object.keys(builtIn), word.slice(1), (name) => name)
      return found.map((name) => ({ text: `/${name}`, detail: builtIn[name], insert: `/${name} ` }))
    }
  }
}

/** Files and folders of the workspace after an `@`, directory by directory. */
export function fileSource (sandboxId) {
  /** Of the directory that was listed last. */
  let listing
  const list = (directory) => {
    // Claude may change it at any time, so it is not kept for long.
    if (listing?.directory !== directory || Date.now() - listing.time > 10_000) {
      const entries = entriesOf(sandboxId, directory)
      listing = { directory, entries, time: Date.now() }
      entries.catch(() => { listing = undefined })
    }
    return listing.entries
  }
  return {
    label: words.composer.files,
    wordAt (before) {
      const match = /(?<=^|\s)@(?:"([^"\n]*)|([^\s"]*))$/.exec(before)
      return match === null ? undefined : { start: match.index, word: match[1] ?? match[2] }
    },
    async find (word) {
      const directory = word.slice(0, word.lastIndexOf('/') + 1)
      const entries = matching(await list(directory), word.slice(directory.length), ({ name }) => name)
      return entries.map(({ name, type }) => {
        const path = `${directory}${name}`
        const isDirectory = type === 'directory'
        return { text: isDirectory ? `${path}/` : path, insert: isDirectory ? opened(path) : `${mention(path)} ` }
      })
    }
  }
}

async function entriesOf (sandboxId, directory) {
  const { entries } = await getJson(paths.files(sandboxId, directory === '' ? {} : { path: directory }))
  return entries.filter(({ name }) => name !== claudeDirectory && canBeMentioned(name)).sort(lessWantedLast)
}

function canBeMentioned (name) {
  return !/["\p{Cc}]/u.test(name)
}

/** The order is otherwise that of the service. */
function lessWantedLast (one, other) {
  return Number(isLessWanted(one)) - Number(isLessWanted(other))
}

function isLessWanted ({ name }) {
  return name.startsWith('.') || name === 'node_modules'
}

/** A mention that goes on in this directory. */
function opened (path) {
  return /\s/.test(path) ? `@"${path}/` : `@${path}/`
}
