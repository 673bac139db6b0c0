import { pino } from 'pino'
import { closeInOrder } from '../lib/closing.js'
import { startOrExplain } from '../lib/start-problem.js'
import { readSettings } from './settings.js'

/** `npm run emulator`: the emulator alone, for any Modal SDK. Logs go to stderr; stdout is shell source to evaluate. */
const { settings, mistakes } = readSettings(process.env)
if (mistakes.length > 0) {
  for (const mistake of mistakes) process.stderr.write(`${mistake}\n`)
  process.exit(1)
}

await startOrExplain(start)

async function start () {
  const { startEmulator } = await import('./index.js')
  const { logLevel, ...options } = settings
  const emulator = await startEmulator({ ...options, log: pino({ level: logLevel }, pino.destination(2)) })
  closeInOrder({ delay: 5000, logger: false }, async () => { await emulator.close() })
  process.stdout.write([
    `# ${(await emulator.selfTest).message}`,
    `# sandboxes find this machine at ${new URL(emulator.urlInSandbox('http://127.0.0.1')).hostname}`,
    `export MODAL_SERVER_URL=${emulator.url}`,
    `export MODAL_TOKEN_ID=${emulator.tokenId}`,
    `export MODAL_TOKEN_SECRET=${emulator.tokenSecret}`
  ].join('\n') + '\n')
}
