// Prints how large each room is: modules, shell scripts (awk included), lines of both, and floors: how many files the
// longest chain of imports in the room has, with types and without. With --chains it prints that chain, too.
import { longestChain, type Module, readModules, readScripts } from './modules.js'

const modules = readModules()
const scripts = readScripts()
const rooms = [...new Set(modules.map(({ room }) => room))]
const inside = (room: string) => (file: { room: string }) => `${file.room}/`.startsWith(`${room}/`)
const atRunTime = (module: Module) =>
  ({ ...module, imports: module.imports.filter(({ typeOnly }) => !typeOnly) })

print('room', 'modules', 'scripts', 'lines', 'floors', 'at run time')
for (const room of rooms) printRoom(room, modules.filter(inside(room)), scripts.filter(inside(room)))
printRoom('all', modules, scripts)

function printRoom (name: string, own: Module[], ownScripts: { text: string }[]): void {
  const lines = [...own, ...ownScripts].reduce((sum, { text }) => sum + text.split('\n').length - 1, 0)
  const chain = longestChain(own)
  print(name, own.length, ownScripts.length, lines, chain.length, longestChain(own.map(atRunTime)).length)
  if (process.argv.includes('--chains')) console.log(`    ${chain.join(' > ')}`)
}

function print (name: string, ...columns: (string | number)[]): void {
  console.log([name.padEnd(24), ...columns.map((column) => String(column).padStart(12))].join(''))
}
