declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  interface Call {
    headers: Record<string, string>;
  }
  interface Options {
    url: string;
    domNode: HTMLElement;
    validatorUrl: null;
    requestInterceptor?: (call: Call) => Call | Promise<Call>;
  }
  const SwaggerUI: (options: Options) => unknown;
  export default SwaggerUI;
}
