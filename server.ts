import { Writable } from 'node:stream'
import type { Config } from './config.js'
import { closeInOrder } from './lib/closing.js'
import { startOrExplain } from './lib/start-problem.js'

await startOrExplain(start)

async function start () {
  // Not before the checks: hundreds of files are loaded.
  const { loadConfig } = await import('./config.js')
  const { buildApp } = await import('./app.js')
  const config = loadConfig()
  const app = await buildApp(config, await loggerOptions(config))
  closeInOrder({ delay: 8000, logger: app.log }, async ({ signal, err }) => {
    const started = performance.now()
    app.log.info({ signal, err }, 'closing')
    await app.close()
    app.log.info({ durationMs: Math.round(performance.now() - started) }, 'closed')
  })
  try {
    await app.listen({ host: config.host, port: config.port })
  } catch (error) {
    await app.close()
    throw error
  }
  const url = config.publicUrl ?? app.listeningOrigin
  const signInCode = app.signInCode === undefined ? '' : `/#code=${app.signInCode} (signs this browser in, once)`
  app.log.info(`open ${url}${signInCode}`)
}

async function loggerOptions ({ logLevel }: Config) {
  const options = {
    level: logLevel,
    redact: ['req.headers.authorization', 'req.headers.cookie', 'req.headers["x-api-key"]'],
    // Without the query, which may name files.
    serializers: {
      req: ({ method, url, ip }: { method: string, url: string, ip: string }) =>
        ({ method, path: url.split('?')[0], ip })
    }
  }
  if (!process.stdout.isTTY) return options
  const { default: pretty } = await import('pino-pretty')
  // Unlike its own, this destination outlives its terminal.
  const destination = new Writable({ write: (text, _encoding, done) => { process.stdout.write(text, () => done()) } })
  return { ...options, stream: pretty({ ignore: 'pid,hostname', singleLine: true, destination }) }
}
