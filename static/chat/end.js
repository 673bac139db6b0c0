import { ask } from '../lib/dom.js'

/** Says what the end of a sandbox means for its files, and asks whether that is meant. */
export function askToEnd ({ volume, s3 }, { title, action, running = false }) {
  return ask({
    title,
    text: `${running ? 'Claude stops, and the' : 'The'} sandbox with all its processes is removed. ` +
      (volume ? `Files on the volume “${volume.name}” are kept.` : 'Files outside of a volume are lost.') +
      (s3?.syncOnTerminate ? ` They are copied to s3://${s3.bucket}/${s3.keyPrefix ?? ''} first.` : ''),
    action
  })
}
