import { openRuntime, sh, startContainer } from './containers.js'

/** A server that inherited a descriptor of a host directory: prints the descriptors of a container's processes. */
const { runtime, close } = await openRuntime(process.argv[2]!)
const container = await startContainer(runtime)
const pty = { rows: 24, columns: 80, term: 'xterm' }
const look = 'for fd in /proc/1/fd/* /proc/$PPID/fd/* /proc/self/fd/*; do readlink $fd; done; ls /proc/self/fd/100/'
const outputs = [await sh(container, look), await sh(container, look, { pty })]
process.stdout.write(outputs.map(({ out }) => out).join(''))
await close()
