import { loadScript } from './script.js'

/** What dies with the sandbox: its locks, and what runs and syncs keep while they work. */
export const stateDirectory = '/tmp/.modal-sandbox'

/**
 * The functions `acquire` and `last_holder` for a script that defines `alive <id>`; see the script itself. A lock is
 * within one sandbox, and holds against every replica of the service.
 */
export const lockScript = loadScript(import.meta.url, 'lock.sh')

/** How a script exits when a lock is held by another. */
export const exitLocked = 75
