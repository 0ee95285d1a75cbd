import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

// The page is served under a Content-Security-Policy that allows files of its own origin and
// nothing else. So every asset stays a file (no `data:` URLs) and nothing is written inline.
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  plugins: [
    {
      // The script sets the chosen colours, so the first picture waits for it. Vite writes the tag
      // anew and drops this attribute.
      name: 'script-before-first-picture',
      transformIndexHtml: {
        order: 'post',
        handler: (html) => html.replace('<script type="module"', '$& blocking="render"'),
      },
    },
  ],
  build: {
    outDir: '../dist/client',
    emptyOutDir: true,
    assetsDir: 'assets',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
