import { paths, send } from '../lib/api.js'
import { confirmDialog } from '../lib/dom.js'

/** Asks for confirmation to end a sandbox, and says what happens to its files. */
export function confirmEnd ({ volume, s3 }, { title, action, running = false }) {
  return confirmDialog({
    title,
    text: `${running ? 'Claude will be stopped, and the' : 'The'} sandbox will be removed with all its processes. ` +
      (s3?.syncOnTerminate ? `The workspace is copied to s3://${s3.bucket}/${s3.keyPrefix ?? ''} first. ` : '') +
      (volume ? `Files on the volume “${volume.name}” are kept.` : `${s3?.syncOnTerminate ? 'All other' : 'Its'} files are lost.`),
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
      title: 'End it without storing the files?',
      text: `${error.message} If you end it now, everything in it that is not stored is lost. ` +
        'If you keep it, the service tries again for as long as the sandbox lives.',
      action: 'End and lose the files'
    })
    if (!confirmed) throw error
    return await (await send('DELETE', paths.forcedEnd(id))).json()
  }
}
