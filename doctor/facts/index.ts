import type { Fact } from '../fact.js'
import { commands } from './commands.js'
import { ends } from './ends.js'
import { images } from './images.js'
import { records } from './records.js'
import { volumes } from './volumes.js'

/** What most of the service stands on comes first. */
export const facts: readonly Fact[] = [...records, ...commands, ...volumes, ...ends, ...images]
