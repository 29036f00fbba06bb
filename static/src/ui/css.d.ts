declare module "*.css"; // esbuild makes a stylesheet of them
