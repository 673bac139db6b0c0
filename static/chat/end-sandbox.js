import { paths, send } from '../lib/api.js'
import { confirmDialog } from '../lib/dom.js'
import { words } from '../lib/words.js'

/** Asks for confirmation to end a sandbox, and says what happens to its files. */
export function confirmEnd ({ volume, s3 }, { title, action, running = false }) {
  return confirmDialog({
    title,
    text: words.endSandbox.about({
      running, s3: s3?.syncOnTerminate && `s3://${s3.bucket}/${s3.keyPrefix ?? ''}`, volume: volume?.name
    }),
    action
  })
}

/**
 * Ends a sandbox. When its workspace could not be stored anywhere, asks whether it may go all the same.
 * @returns what was done; throws an ApiError, also when the sandbox is kept
 */
export async function endSandbox ({ id }) {
  try {
    return await (await send('DELETE', paths.sandbox(id))).json()
  } catch (error) {
    if (error.code !== 'WORKSPACE_NOT_STORED') throw error
    const confirmed = await confirmDialog({
      title: words.endSandbox.titleLose,
      text: words.endSandbox.aboutLose(error.message),
      action: words.endSandbox.actionLose
    })
    if (!confirmed) throw error
    return await (await send('DELETE', paths.forcedEnd(id))).json()
  }
}
