const svg = 'http://www.w3.org/2000/svg'

/** Stroke paths on a 24 by 24 grid. */
const paths = {
  arrowDown: 'M12 5v14m-6-6 6 6 6-6',
  arrowUp: 'M12 19V5m-6 6 6-6 6 6',
  back: 'M15 6l-6 6 6 6',
  bell: 'M6 16v-5a6 6 0 0 1 12 0v5l1.5 2h-15zM10 20.5h4',
  bellOff: 'M6 16v-5a6 6 0 0 1 9-5.2M18 11v5l1.5 2H8M10 20.5h4M4 4l16 16',
  branch: 'M7 8.5v7M7 4.5a2 2 0 1 0 0 4 2 2 0 0 0 0-4zM7 15.5a2 2 0 1 0 0 4 2 2 0 0 0 0-4zM17 6.5a2 2 0 1 0 0 4 2 2 0 0 0 0-4zM17 10.5c0 4-7.5 2-10 5',
  box: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9',
  chat: 'M4 5h16v11H10l-4 4v-4H4z',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  chevron: 'M9 6l6 6-6 6',
  clip: 'M19 11l-7.5 7.5a4.5 4.5 0 0 1-6.4-6.4L13 4.3a3 3 0 0 1 4.2 4.2l-7.8 7.8a1.5 1.5 0 0 1-2.1-2.1L14 7.5',
  clock: 'M12 7v5l3 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z',
  contrast: 'M12 3.5a8.5 8.5 0 1 0 0 17zM12 3.5a8.5 8.5 0 0 1 0 17',
  copy: 'M9 9h10v11H9zM15 9V4H5v11h4',
  cross: 'M6.5 6.5l11 11m0-11l-11 11',
  download: 'M12 4v11m-5-5 5 5 5-5M5 20h14',
  file: 'M6 3h8l4 4v14H6zM14 3v4h4',
  folder: 'M3.5 6h6l2 2.5h9V19h-17z',
  globe: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM3.5 12h17M12 3.5c3 3 3 14 0 17-3-3-3-14 0-17',
  keyboard: 'M3 7h18v11H3zM7 11h.01M11 11h.01M15 11h.01M8 14.5h8',
  list: 'M9 6h11M9 12h11M9 18h11M4.5 6h.01M4.5 12h.01M4.5 18h.01',
  minus: 'M5 12h14',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  moon: 'M19 14.5A7.5 7.5 0 0 1 9.5 5 7.5 7.5 0 1 0 19 14.5z',
  pencil: 'M4 20l1-5L16 4l4 4L9 19zM13.5 6.5l4 4',
  plus: 'M12 5v14M5 12h14',
  robot: 'M5 9h14v10H5zM12 9V5M9.5 13.5v1.5M14.5 13.5v1.5',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20',
  shield: 'M12 3.5l7 2.5v6c0 4-3 7-7 8.5-4-1.5-7-4.5-7-8.5V6z',
  sidebar: 'M4 5h16v14H4zM9.5 5v14',
  sliders: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5',
  stop: 'M7 7h10v10H7z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  sync: 'M4.5 11a7.5 7.5 0 0 1 13-4.5L20 9M20 4v5h-5M19.5 13a7.5 7.5 0 0 1-13 4.5L4 15M4 20v-5h5',
  terminal: 'M5 7l5 5-5 5M12.5 18H19',
  tool: 'M14 7a4 4 0 0 1 5-3.5L16.5 6l1.5 1.5L20.5 5A4 4 0 0 1 15 10L7 18.5 5 16.5 13.5 8',
  trash: 'M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13',
  upload: 'M12 16V5m-5 5 5-5 5 5M5 20h14',
  warning: 'M12 4l9 16H3zM12 10v4.5M12 17.2v.1'
}

/** What points along the line, and points back where it runs from right to left. */
const directed = ['back', 'chevron', 'sidebar']

/** Decorative only: its meaning must also be given as text or a label. */
export function icon (name) {
  const element = document.createElementNS(svg, 'svg')
  const path = document.createElementNS(svg, 'path')
  for (const [key, value] of Object.entries({ class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' })) {
    element.setAttribute(key, value)
  }
  path.setAttribute('d', paths[name])
  if (directed.includes(name)) element.dataset.directed = ''
  element.append(path)
  return element
}
