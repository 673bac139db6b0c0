import { openRuntime, startContainer } from './containers.js'

/** A server that is going to be killed: starts a container with a daemon in it, says so and stays. */
const [directory, mark] = process.argv.slice(2)
const { runtime } = await openRuntime(directory!)
const container = await startContainer(runtime)
await container.exec({ command: ['/bin/sh', '-c', `setsid sh -c 'sleep 1000; : ${mark}' & sleep 1000; : ${mark}`] })
process.stdout.write('started\n')
setInterval(() => {}, 1000)
