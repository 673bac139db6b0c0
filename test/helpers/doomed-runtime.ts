import { openRuntime, startContainer } from './containers.js'

/** A server that will be killed: starts a container with a daemon in it, reports that, and keeps running. */
const [directory, mark] = process.argv.slice(2)
const { runtime } = await openRuntime(directory!)
const container = await startContainer(runtime)
await container.exec({ command: ['/bin/sh', '-c', `setsid sh -c 'sleep 1000; : ${mark}' & sleep 1000; : ${mark}`] })
process.stdout.write('started\n')
setInterval(() => {}, 1000)
